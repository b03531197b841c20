"""Numbers that papers print: one TOML file a table, read by :mod:`hashbench.report.published`."""

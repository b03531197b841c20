"""The built-in studies: one TOML file each, read by :mod:`hashbench.studies`."""

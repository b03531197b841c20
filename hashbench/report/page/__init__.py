"""The report: stored runs as one HTML file that opens anywhere.

:mod:`.making` turns records into the plain, typed :mod:`.model`, :mod:`.study` adds what a study says of them, and
:mod:`.html` renders the model. The page carries its script, its styles and its data; nothing is fetched.
"""

from hashbench.report.page.html import html
from hashbench.report.page.making import page_of
from hashbench.report.page.model import Page
from hashbench.report.page.study import of_study

__all__ = ["Page", "html", "of_study", "page_of"]

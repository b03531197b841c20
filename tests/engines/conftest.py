"""The grids of the tests of grids, for other engines."""

from tests.test_grid import diary as diary

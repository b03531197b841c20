"""Other people's data: readers of official archives and of the field's files, kept in one common form."""

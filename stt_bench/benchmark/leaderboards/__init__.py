"""From records to pages and figures.

What a number says (scores, rows, board) stands apart from how it is shown: wording, notes and
markdown make a page of it, front_page the list of pages, figures the pictures. report reads the
records and writes all of them, csv_files the tidy tables; answer says the outcome in words, from
the facts of outcome, and everything that shows a board shows these words.
"""

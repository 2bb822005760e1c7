"""Views of plans and reports: `tables` and `reports` have text, HTML and data frames, `svg` has pictures.

`graph` and `housekeeping` use them, and `cells` has the building blocks of tables.
"""

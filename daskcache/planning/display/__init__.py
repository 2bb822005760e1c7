"""Views of plans and reports: `tables` and `reports` make text and HTML, `svg` makes pictures.

`graph` and `housekeeping` use them.  `cells` has the building blocks of tables, `boxes` and `layout`
those of pictures.
"""

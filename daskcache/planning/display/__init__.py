"""Views of plans and audits: `tables` has text, HTML and data frames, `svg` has pictures.

`graph.plan.Plan` and `housekeeping.audit` use them.
"""

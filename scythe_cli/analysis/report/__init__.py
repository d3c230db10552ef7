"""A run on one HTML page that needs no network.

`content` reads what the page tells, `pictures` draws, and `page` fills the template `report.html`, in which every value
is escaped. All numbers come from the modules of `results` and `plots`.
"""

"""How plans are shown: text, HTML, data frames and pictures."""

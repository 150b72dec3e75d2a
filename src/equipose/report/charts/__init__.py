"""The charts, as plain plotly figure dictionaries whose colours are roles (see ``report.colours``)."""

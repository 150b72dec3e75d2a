"""Networks: one encoder per sensor, a fusion, and the model that decodes any coalition of sensors."""

"""Pose errors in millimetres, their intervals over subjects, and the errors of answers that look at no sensor."""

"""Simulated MM-Fi: scripted people in furnished rooms, seen by four physical sensor models, in MM-Fi's own files.

Read in the order of the data flow: ``presets`` (what), ``motion`` and ``body`` (who does what), ``room`` (where),
``camera lidar radar wifi`` (what the sensors see), ``mmfi_writer`` (files). Only numpy and scipy are used.
"""

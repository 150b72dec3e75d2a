"""Simulated MM-Fi: scripted or recorded people in furnished rooms, seen by four physical sensor models.

Read in the order of the data flow: ``presets`` (what), ``motion`` and ``body`` (who does what), ``room`` (where),
``camera lidar radar wifi`` (what the sensors see), ``recording_jobs`` and ``mmfi_writer`` (MM-Fi's own files); for
recorded motion ``motion_files`` (readers), ``retarget``, ``placing``, ``motion_writer``. Only numpy and scipy are
used.
"""

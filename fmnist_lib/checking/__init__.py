"""What is handed in, checked: by the instructor who receives sixty folders, and by the student before handing in.

`folders` goes over a folder and over all of them; `runs`, `notebooks` and `reports` hold what is looked at, `twins`
what two folders have in common, `handed_out` what the lab itself hands out, and `findings` the table. Nothing that
was handed in is run or unpickled.
"""

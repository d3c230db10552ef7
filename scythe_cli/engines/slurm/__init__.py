"""Slurm as an engine: a run is one job array and a job behind it that gathers; Slurm does the scheduling.

The modules, each with one duty: `commands` calls sbatch, squeue, scancel, scontrol and sinfo; `queue` reads what squeue
says; `sizing` and `progress` decide, without input or output; `assignment` is what jobs are told; `scripts` makes batch
scripts; `submitting` hands a wave of tasks over; `task` and `closing` are what jobs run; `waiting` follows a run from
outside; `probe` tries a node out; `engine` puts them together.
"""

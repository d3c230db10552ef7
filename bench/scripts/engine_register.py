"""Let the engine know the workflows of scythe-engine: a worker does that when it starts.

python engine_register.py
"""

if __name__ == "__main__":
    import intake_models  # noqa: F401 - registers the functions
    from scythe.worker import ScytheWorkerConfig

    ScytheWorkerConfig().start()

"""The tests that every engine and every storage must pass, for those who add one; pytest is needed to run them.

Subclass `EngineContract` or `StorageContract` in a test module, and give it the fixture that its docstring names. This
package stands above all rooms and may use any of them; nothing in them uses it.
"""

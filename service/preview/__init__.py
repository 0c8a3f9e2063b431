"""Previews: what an edited fusion config would do to recent requests. Changes nothing, ranks nobody.

    recording.py   each worker remembers some of its last answers
    sharing.py     workers freeze what they remember into one sample that all of them read
    sample.py      the sample: requests with their predictions, as a file
    selection.py   the sample's requests of one scene, scored by a config and put in order
    comparing.py   what another config changes in them
    answering.py   a process of low priority that does all of this computing
    process.py     the worker's end of that process
    preview.py     from a request to its answer

Knows no HTTP, and no configs but those that it is given.
"""

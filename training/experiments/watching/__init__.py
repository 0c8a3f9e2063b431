"""Watching: experiments that run, looked at again and again: from the joined log to what is done.

joined log -> measures, reading -> looking -> deciding -> service
/metrics   -> answers  ---------------^           controller: all of it in one look
"""

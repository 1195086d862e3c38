// APIDoor

on error call tell
connect dbms nowhere where type = nosuchkind
print went on
end script

:tell:
print failed, as it should
return

# cmake -DIN=file -DOUT=file.inc -P bin2inc.cmake: bytes as the inside of a C array initialiser.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," text "${hex}")
file(WRITE ${OUT} "${text}\n")

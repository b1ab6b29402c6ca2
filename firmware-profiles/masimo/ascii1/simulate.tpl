{{time %m/%d/%y %H:%M:%S}} SN=0000093112 SPO2=0{{walk 94 99 1}}% BPM=0{{walk 62 88 2}} PI=0{{walk 3.00 6.50 0.20 2}}% PVI=014% SPCO=--.-% SPMET=--.-% DESAT=-- PIDELTA=+-- ALARM=0000 EXC=000800

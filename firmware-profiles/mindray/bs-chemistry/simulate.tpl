MSH|^~\&|Mindray|BS-240|||{{time %Y%m%d%H%M%S}}||ORU^R01|{{seq}}|P|2.3.1||||0||ASCII|||
PID|1|SIM-0006|||Simulated^Person||19700101|M|||||||||||||||||||||||
OBR|1|ORD-{{seq}}|SMP-{{seq}}|Mindray^BS-240|N||{{time %Y%m%d%H%M%S}}|||||||{{time %Y%m%d%H%M%S}}|serum
OBX|1|NM|1|Glucose|{{walk 72.0 118.0 4 1}}|mg/dL|70-110|N|||F|||{{time %Y%m%d%H%M%S}}||||
OBX|2|NM|2|Creatinine|{{walk 62 104 4}}|umol/L|62-106|N|||F|||{{time %Y%m%d%H%M%S}}||||

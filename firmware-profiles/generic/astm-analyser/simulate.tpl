H|\^&|||CHEM-SIM^1.0^SIM-0007|||||host||P|1|{{time %Y%m%d%H%M%S}}
P|1||SIM-0005|Simulated^Person||19700101|F
O|1|SIM-{{seq}}||^^^GLU\^^^CRE|R||{{time %Y%m%d%H%M%S}}||||||||||SERUM
R|1|^^^GLU|{{walk 78 124 4}}|mg/dL||N||F||||{{time %Y%m%d%H%M%S}}
R|2|^^^CRE|{{walk 0.70 1.20 0.05 2}}|mg/dL||N||F||||{{time %Y%m%d%H%M%S}}
L|1|N

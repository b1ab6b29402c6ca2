ST,GS,+  {{walk 68.0 74.0 1.5 1}}kg {{time %d-%m-%y %H:%M}} SN:D7715

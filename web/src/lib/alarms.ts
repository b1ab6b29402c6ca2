/**
 * What each alarm of the box means and what to do, by its code. The alarm itself says how things stand right now; this
 * says what lies behind it. A test of the box holds this list equal to the codes it can raise.
 */
export interface AlarmMeaning {
  name: string;
  /** What happened, and what it does to results. */
  means: string;
  /** Steps, in order. */
  steps: readonly string[];
}

export const ALARMS: Readonly<Record<string, AlarmMeaning>> = {
  'break-glass': {
    name: 'A user opened the box beyond their places',
    means:
      'Somebody said that there is an emergency and sees every device and message for a while. Each look is in the audit trail. Results are not affected.',
    steps: [
      'See under Users who it is, the reason they gave and until when it lasts.',
      'Talk to them. If it was no emergency, end their sessions and disable the user.',
      'The alarm goes by itself when the emergency ends.',
    ],
  },
  'disk-full': {
    name: 'The disk is full',
    means:
      'Nothing more can be kept, so nothing more is acknowledged: devices are told no and keep or repeat their results. What was acknowledged is safe and is still delivered.',
    steps: [
      'Look under Storage which folder holds the buffer, and free room on that disk (old logs, captures, copies).',
      'Nothing has to be restarted: devices are answered again as soon as there is room.',
      'If it comes back, lower keep_days in [buffer] or put in a larger disk.',
    ],
  },
  'quota-full': {
    name: 'The allowed storage is full',
    means:
      'The buffer has reached max_bytes with results that are not delivered yet. They are never dropped, so devices are refused.',
    steps: [
      'Is the FHIR server reachable? Mend that first: the storage empties by itself.',
      'Look at the held entries and release or set aside what can be decided.',
      'If the disk has room, raise max_bytes in [buffer].',
    ],
  },
  'disk-fault': {
    name: 'The disk reports errors',
    means:
      'A write or a sync failed. The buffer was closed, opened again and checked; until it can be written, devices are refused. Nothing that was acknowledged is lost as long as the disk can be read.',
    steps: [
      'If the alarm goes by itself, plan a new disk all the same: the system’s log names the error.',
      'If it stays, make a backup, replace the disk and restore.',
    ],
  },
  'bytes-changed': {
    name: 'The disk changed what a device said',
    means:
      'A kept frame no longer has the check sum it was kept with. It is held and is never sent: a changed value could look right.',
    steps: [
      'Ask the device or the ward to send that result again; the entry says which device and when.',
      'Make a backup and replace the disk.',
    ],
  },
  'kept-copy-changed': {
    name: 'The disk changed the kept copy of a delivered result',
    means:
      'The server got the result as the device said it; only the copy kept here was changed afterwards. Sending that copy again would send something else.',
    steps: ['Do not replay this entry.', 'Make a backup and replace the disk.'],
  },
  restored: {
    name: 'This box was restored from a backup',
    means:
      'It holds what the backup held. What devices said after the backup was made is not here; what was delivered after it may be delivered again, which changes nothing on the server.',
    steps: ['Ask the senders of the time between for their results, where they matter.'],
  },
  'acknowledged-missing': {
    name: 'Acknowledged frames are missing',
    means:
      'After a fault of the disk the buffer holds fewer frames than it had acknowledged. Their senders believe that they arrived.',
    steps: [
      'Ask the senders of that time for their results again. What arrives twice is delivered once.',
      'Replace the disk.',
    ],
  },
  'database-salvaged': {
    name: 'A damaged database was replaced',
    means:
      'The database could not be used. Everything readable was copied into a new one and the box went on. The damaged file lies beside it, untouched.',
    steps: [
      'Read the figures of the alarm: what was copied, what is held because it was changed, what could not be read.',
      'If frames could not be read, ask their senders again.',
      'Give the damaged file to service and replace the disk.',
    ],
  },
  'database-set-aside': {
    name: 'A damaged database lies in the folder',
    means: 'From an earlier salvage. It takes up room and holds patient data.',
    steps: ['When service has it, move it out of the data folder.'],
  },
  held: {
    name: 'Entries are held',
    means:
      'They could not be read, or not be told to a patient, or the server refused them. They stay here until a person decides, and nothing behind them waits for them except for the same device and patient.',
    steps: [
      'Open Messages, filter by “held”: the reason is on top of each.',
      'Mend the cause (profile, association, server), then release it.',
    ],
  },
  'outgoing-held': {
    name: 'Messages to another system are held',
    means: 'The other system refused them, or they could not be built. Others are not delayed by it.',
    steps: [
      'Open HL7 routes: each says why.',
      'Mend the cause here or there, then release it. Drop only what that system must never get.',
    ],
  },
  'destination-stalled': {
    name: 'Results wait for another server or a stick',
    means:
      'A FHIR server or a folder beside the main one has taken nothing for five minutes. What is for it waits in its own queue; nothing is lost, and the others go on.',
    steps: [
      'Open HL7 routes: it says what is wrong.',
      'A stick: plug it in, and make the folder on it if it is new. A full one: put an empty one in.',
      'A server: ask its people, or pause it until it is back.',
    ],
  },
  'device-clock': {
    name: 'The clock of a device is wrong',
    means:
      'Its results carry the device’s time, which is too far from this gateway’s. They are delivered with the time as it was said; nothing is corrected silently.',
    steps: [
      'Set the clock of the device. An offset of whole hours is a wrong zone or a missed clock change.',
      'If the device knows no zone, check the zone of its link.',
    ],
  },
};

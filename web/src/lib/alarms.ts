import { m, type Message } from './i18n';

/**
 * What each alarm of the box means and what to do, by its code. The alarm itself says how things stand right now; this
 * says what lies behind it. A test of the box holds this list equal to the codes it can raise.
 */
export interface AlarmMeaning {
  name: Message;
  /** What happened, and what it does to results. */
  means: Message;
  /** Steps, in order. */
  steps: readonly Message[];
}

export const ALARMS: Readonly<Record<string, AlarmMeaning>> = {
  'break-glass': {
    name: m('A user opened the box beyond their places'),
    means: m(
      'Somebody said that there is an emergency and sees every device and message for a while. Each look is in the audit trail. Results are not affected.',
    ),
    steps: [
      m('See under Users who it is, the reason they gave and until when it lasts.'),
      m('Talk to them. If it was no emergency, end their sessions and disable the user.'),
      m('The alarm goes by itself when the emergency ends.'),
    ],
  },
  'upstream-unusable': {
    name: m('The FHIR server that was set up cannot be used'),
    means: m(
      'What was set up at the desk cannot be put in force, most often because its key is not on this gateway. Nothing is delivered; everything is kept.',
    ),
    steps: [
      m('Open Upstream, then Set up: the reason stands at the top.'),
      m('If the key is missing, make a new pair and have the server’s team register it.'),
      m('Save it again: what waits goes by itself.'),
    ],
  },
  'update-went-back': {
    name: m('An update was taken back'),
    means: m(
      'A new program was installed and did not run well for long enough, could not be started, or somebody asked for the one before. The gateway went back by itself: it runs as before the update, and the alarm says what became of the database.',
    ),
    steps: [
      m('Look under Held: what could not be brought over from the newer database waits there for a person.'),
      m('Tell the publisher of the program what the alarm says.'),
      m('Install the next release when there is one; bedside update status shows how things stand.'),
    ],
  },
  backup: {
    name: m('No backup could be made'),
    means: m(
      'An encrypted backup is due and could not be made: the stick or folder is not there, is full, or could not be written. Results are not affected; but if the gateway is lost now, what came in since the last backup is lost with it.',
    ),
    steps: [
      m('Read the alarm: it says why, and when the last good backup was made.'),
      m('Put the stick in, or make room on it. The gateway tries again by itself.'),
      m('If the stick reports errors, replace it.'),
    ],
  },
  'audit-broken': {
    name: m('The audit trail is not as it was written'),
    means: m(
      'A row was changed, taken out or moved, or the trail was cut off or written anew: each row holds the check sum of the one before it, and a seal made with a key of the gateway counts them. Results are not touched by it; devices are heard and delivered as before.',
    ),
    steps: [
      m('Open Audit and verify it: the answer names the first row that is wrong.'),
      m('Make a backup as it is and keep it apart; do not repair anything by hand.'),
      m(
        'Ask who had access to the disk or the system of this gateway. If the disk reports errors too, replace it.',
      ),
    ],
  },
  'audit-behind': {
    name: m('The audit trail is not forwarded'),
    means: m(
      'The syslog receiver or FHIR server that [audit] names has taken no row for a while. The trail is complete here; what is missing there follows by itself, in order.',
    ),
    steps: [
      m('The alarm says what the receiver answered, or that it does not answer: mend that first.'),
      m('Look at the address and the certificate under [audit] in the configuration.'),
    ],
  },
  'certificate-expiring': {
    name: m('The certificate of the desk expires'),
    means: m(
      'Browsers refuse a desk with an expired certificate, so nobody could look at this gateway. Devices and delivery are not touched by it.',
    ),
    steps: [
      m(
        'Ask your authority for the renewed certificate and give it under Certificate, with its key; nothing has to be restarted.',
      ),
      m(
        'Where the configuration file names the certificate, replace the file there and start the gateway again.',
      ),
      m('In a hurry: let the gateway make a new one of its own and compare its fingerprint at the console.'),
    ],
  },
  'certificate-acme': {
    name: m('No certificate comes from the authority'),
    means: m(
      'The gateway asked the authority for the desk’s certificate (ACME) and got none. The desk goes on with the one it has; devices and delivery are not touched by it.',
    ),
    steps: [
      m('Open Certificate: it says what went wrong, what to do about it, and when it is tried again.'),
      m(
        'Most often the authority does not reach this gateway under its name: look at the name server and the firewall.',
      ),
      m('In a hurry: end it there, and give a certificate by hand.'),
    ],
  },
  'disk-full': {
    name: m('The disk is full'),
    means: m(
      m(
        m(
          'Nothing more can be kept, so nothing more is acknowledged: devices are told no and keep or repeat their results. What was acknowledged is safe and is still delivered.',
        ),
      ),
    ),
    steps: [
      m(
        m(
          m(
            'Look under Storage which folder holds the buffer, and free room on that disk (old logs, captures, copies).',
          ),
        ),
      ),
      m('Nothing has to be restarted: devices are answered again as soon as there is room.'),
      m('If it comes back, lower keep_days in [buffer] or put in a larger disk.'),
    ],
  },
  'quota-full': {
    name: m('The allowed storage is full'),
    means: m(
      m(
        m(
          'The buffer has reached max_bytes with results that are not delivered yet. They are never dropped, so devices are refused.',
        ),
      ),
    ),
    steps: [
      m('Is the FHIR server reachable? Mend that first: the storage empties by itself.'),
      m('Look at the held entries and release or set aside what can be decided.'),
      m('If the disk has room, raise max_bytes in [buffer].'),
    ],
  },
  'disk-fault': {
    name: m('The disk reports errors'),
    means: m(
      m(
        m(
          'A write or a sync failed. The buffer was closed, opened again and checked; until it can be written, devices are refused. Nothing that was acknowledged is lost as long as the disk can be read.',
        ),
      ),
    ),
    steps: [
      m('If the alarm goes by itself, plan a new disk all the same: the system’s log names the error.'),
      m('If it stays, make a backup, replace the disk and restore.'),
    ],
  },
  'bytes-changed': {
    name: m('The disk changed what a device said'),
    means: m(
      m(
        m(
          'A kept frame no longer has the check sum it was kept with. It is held and is never sent: a changed value could look right.',
        ),
      ),
    ),
    steps: [
      m('Ask the device or the ward to send that result again; the entry says which device and when.'),
      m('Make a backup and replace the disk.'),
    ],
  },
  'kept-copy-changed': {
    name: m('The disk changed the kept copy of a delivered result'),
    means: m(
      m(
        m(
          'The server got the result as the device said it; only the copy kept here was changed afterwards. Sending that copy again would send something else.',
        ),
      ),
    ),
    steps: [m('Do not replay this entry.'), m('Make a backup and replace the disk.')],
  },
  restored: {
    name: m('This box was restored from a backup'),
    means: m(
      m(
        m(
          'It holds what the backup held. What devices said after the backup was made is not here; what was delivered after it may be delivered again, which changes nothing on the server.',
        ),
      ),
    ),
    steps: [m('Ask the senders of the time between for their results, where they matter.')],
  },
  'acknowledged-missing': {
    name: m('Acknowledged frames are missing'),
    means: m(
      m(
        m(
          'After a fault of the disk the buffer holds fewer frames than it had acknowledged. Their senders believe that they arrived.',
        ),
      ),
    ),
    steps: [
      m('Ask the senders of that time for their results again. What arrives twice is delivered once.'),
      m('Replace the disk.'),
    ],
  },
  'database-salvaged': {
    name: m('A damaged database was replaced'),
    means: m(
      m(
        m(
          'The database could not be used. Everything readable was copied into a new one and the box went on. The damaged file lies beside it, untouched.',
        ),
      ),
    ),
    steps: [
      m(
        m(
          m(
            'Read the figures of the alarm: what was copied, what is held because it was changed, what could not be read.',
          ),
        ),
      ),
      m('If frames could not be read, ask their senders again.'),
      m('Give the damaged file to service and replace the disk.'),
    ],
  },
  'database-set-aside': {
    name: m('A damaged database lies in the folder'),
    means: m('From an earlier salvage. It takes up room and holds patient data.'),
    steps: [m('When service has it, move it out of the data folder.')],
  },
  held: {
    name: m('Entries are held'),
    means: m(
      m(
        m(
          'They could not be read, or not be told to a patient, or the server refused them. They stay here until a person decides, and nothing behind them waits for them except for the same device and patient.',
        ),
      ),
    ),
    steps: [
      m('Open Messages, filter by “held”: the reason is on top of each.'),
      m('Mend the cause (profile, association, server), then release it.'),
    ],
  },
  'outgoing-held': {
    name: m('Messages to another system are held'),
    means: m('The other system refused them, or they could not be built. Others are not delayed by it.'),
    steps: [
      m('Open HL7 routes: each says why.'),
      m('Mend the cause here or there, then release it. Drop only what that system must never get.'),
    ],
  },
  unfinished: {
    name: m('Great messages were turned away'),
    means: m(
      m(
        'Senders had begun more great messages at once than the memory of this gateway has room for. The connections that held most for longest were closed; what was not acknowledged is still with its sender. The others were not delayed.',
      ),
    ),
    steps: [
      m('Open Devices: the links say which connections were closed.'),
      m(
        m(
          'A sender that begins messages and does not end them is broken, or no device at all: unplug it, or leave its address out of allow.',
        ),
      ),
      m('If all of them are meant, allow more with unfinished_bytes in [intake].'),
    ],
  },
  'destination-stalled': {
    name: m('Results wait for another server or a stick'),
    means: m(
      m(
        m(
          'A FHIR server or a folder beside the main one has taken nothing for five minutes. What is for it waits in its own queue; nothing is lost, and the others go on.',
        ),
      ),
    ),
    steps: [
      m('Open HL7 routes: it says what is wrong.'),
      m('A stick: plug it in, and make the folder on it if it is new. A full one: put an empty one in.'),
      m('A server: ask its people, or pause it until it is back.'),
    ],
  },
  'device-clock': {
    name: m('The clock of a device is wrong'),
    means: m(
      m(
        m(
          'Its results carry the device’s time, which is too far from this gateway’s. They are delivered with the time as it was said; nothing is corrected silently.',
        ),
      ),
    ),
    steps: [
      m('Set the clock of the device. An offset of whole hours is a wrong zone or a missed clock change.'),
      m('If the device knows no zone, check the zone of its link.'),
    ],
  },
  'box-clock': {
    name: m('The clock of this gateway follows no time server'),
    means: m(
      'For an hour nothing has kept the clock right. Results of devices without a clock carry the gateway’s time, and whether a device’s clock is right cannot be told. Times that devices say themselves are not touched.',
    ),
    steps: [
      m(
        'Open Settings, then Names, time zone, clock: it says what keeps the clock and what to write for a time server.',
      ),
      m('If the clinic’s network has a time server, see that the gateway reaches it (UDP port 123).'),
      m('The alarm goes by itself when the clock is in sync.'),
    ],
  },
  'disk-filling': {
    name: m('The disk of this gateway is filling up'),
    means: m(
      'Less than 1 GB is left, or hardly any further file can be made. When it is full, senders are refused and keep what they have to say; what was answered stays.',
    ),
    steps: [
      m('Remove old backups under Backups, and recordings that are no longer needed.'),
      m('See what else lies on this disk; du -x says what takes the room.'),
      m('Allow what is kept less room (max_bytes in [buffer]), or give the gateway a larger disk.'),
    ],
  },
  'disk-worn': {
    name: m('The disk of this gateway is worn out'),
    means: m(
      'By its maker’s own estimate the disk has used nine tenths of its life or more, or its spare blocks are nearly used up. It works, and may fail at any time.',
    ),
    steps: [
      m('Make a backup now and keep it elsewhere.'),
      m('Have the disk or the gateway replaced; restore the backup on the new one.'),
    ],
  },
  'box-hot': {
    name: m('This gateway is too warm'),
    means: m(
      'It is 80 °C or more at its warmest place: the processor slows down and the disk ages. Nothing is lost.',
    ),
    steps: [
      m('Free its openings of dust and covers, and move it away from other warm devices.'),
      m('If it has a fan, see that it turns.'),
    ],
  },
};

// A box of its own for a walk: a folder, a configuration, the real binary, and a device on TCP that says what the walk wants.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "./tally.mjs";

/** A port that nobody listens on. */
export const free = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

export class Box {
  /** `more(dir)`: further lines of its configuration, made when its folder is there. */
  static async start(binary, more = () => "") {
    const box = new Box();
    box.dir = mkdtempSync(join(tmpdir(), "bedside-walk-"));
    [box.desk, box.device] = [await free(), await free()];
    box.origin = `https://127.0.0.1:${box.desk}`;
    const file = join(box.dir, "bedside.toml");
    writeFileSync(
      file,
      `secrets = "${box.dir}/secrets"
[site]
name = "Walk ward"
zone = "Europe/Berlin"
[buffer]
dir = "${box.dir}/buffer"
[access]
second_factor = []
[desk]
listen = "127.0.0.1:${box.desk}"
[[link]]
name = "bed-1"
profile = "masimo/ascii1"
patient = { system = "urn:walk", value = "W-1" }
tcp = { listen = "127.0.0.1:${box.device}" }
${more(box.dir)}`,
    );
    box.log = "";
    box.command = [binary, "run", "--config", file];
    box.begin();
    box.code = await eventually(20_000, "the set-up code", () => {
      if (box.process.exitCode !== null) throw new Error(box.log);
      return /One-time set-up code for the first account: (\S+)/.exec(
        box.log,
      )?.[1];
    });
    return box;
  }

  /** Starts it as a service manager does; it knows that it is started again when it ends. */
  begin() {
    const managed = 'export SYSTEMD_EXEC_PID=$$; exec "$0" "$@"';
    this.process = spawn("sh", ["-c", managed, ...this.command], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.process.stderr.on("data", (text) => (this.log += text));
  }

  /** A pulse oximeter's line; each second of its clock is another measurement. */
  line(spo2, second) {
    const two = (number) => String(number).padStart(2, "0");
    const at = new Date(Date.now() - 600_000 + second * 1000);
    const date = `${two(at.getUTCMonth() + 1)}/${two(at.getUTCDate())}/${two(at.getUTCFullYear() % 100)}`;
    const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
    return `${date} ${time} SN=0000093112 SPO2=${String(spo2).padStart(3, "0")}% BPM=072 PI=05.12% PVI=014% SPCO=--.-% SPMET=--.-% DESAT=-- PIDELTA=+-- ALARM=0000 EXC=000800\r\n`;
  }

  /** Says lines as the device, and hangs up. */
  say(lines) {
    return new Promise((resolve, reject) => {
      const socket = connect(this.device, "127.0.0.1", () => {
        socket.write(lines.join(""));
        setTimeout(() => socket.end(), 400);
      });
      socket.on("close", resolve);
      socket.on("error", reject);
      socket.resume();
    });
  }

  async stop() {
    const gone = new Promise((resolve) => this.process.on("exit", resolve));
    this.process.kill("SIGTERM");
    await gone;
    rmSync(this.dir, { recursive: true, force: true });
  }
}

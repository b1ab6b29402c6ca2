//! The serial ports of this box, by names that last.

use std::collections::BTreeMap;
use std::path::Path;

use tokio_serial::{SerialPortType, UsbPortInfo};

/// A serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// `/dev/serial/by-id/…` where the adapter has a name of its own, else the kernel's name.
    pub path: String,
    /// The kernel's name, e.g. `/dev/ttyUSB0`.
    pub device: String,
    /// What the adapter calls itself.
    pub name: Option<String>,
}

/// All ports there are, USB adapters first. Terminals and consoles without hardware behind them are left out.
pub fn list() -> Vec<Port> {
    let lasting = lasting(Path::new("/dev/serial/by-id"));
    let found = tokio_serial::available_ports().unwrap_or_default();
    let mut ports: Vec<(bool, Port)> = found
        .into_iter()
        .map(|found| {
            let name = match &found.port_type {
                SerialPortType::UsbPort(usb) => Some(called(usb)),
                _ => None,
            };
            let path = lasting.get(&found.port_name).cloned().unwrap_or_else(|| found.port_name.clone());
            (name.is_none(), Port { path, device: found.port_name, name })
        })
        .collect();
    ports.sort_by(|a, b| (a.0, &a.1.device).cmp(&(b.0, &b.1.device)));
    ports.into_iter().map(|(_, port)| port).collect()
}

fn called(usb: &UsbPortInfo) -> String {
    let words: Vec<&str> =
        [&usb.manufacturer, &usb.product].into_iter().flatten().map(String::as_str).collect();
    if words.is_empty() { format!("USB {:04x}:{:04x}", usb.vid, usb.pid) } else { words.join(" ") }
}

/// Kernel name → lasting name.
fn lasting(folder: &Path) -> BTreeMap<String, String> {
    let links = std::fs::read_dir(folder).into_iter().flatten().flatten();
    links
        .filter_map(|link| {
            let device = std::fs::canonicalize(link.path()).ok()?;
            Some((device.to_string_lossy().into_owned(), link.path().to_string_lossy().into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_name_is_found_by_what_it_points_at() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("ttyUSB0");
        std::fs::write(&device, "").unwrap();
        let by_id = dir.path().join("by-id");
        std::fs::create_dir(&by_id).unwrap();
        std::os::unix::fs::symlink(&device, by_id.join("usb-FTDI_A1")).unwrap();
        let names = lasting(&by_id);
        let device = std::fs::canonicalize(&device).unwrap();
        assert!(names[&device.to_string_lossy().into_owned()].ends_with("by-id/usb-FTDI_A1"));
        assert!(lasting(Path::new("/no/such/folder")).is_empty());
    }

    #[test]
    fn an_adapter_is_called_what_it_calls_itself() {
        let usb = |manufacturer: Option<&str>, product: Option<&str>| UsbPortInfo {
            vid: 0x0403,
            pid: 0x6001,
            serial_number: None,
            manufacturer: manufacturer.map(Into::into),
            product: product.map(Into::into),
        };
        assert_eq!(called(&usb(Some("FTDI"), Some("FT232R"))), "FTDI FT232R");
        assert_eq!(called(&usb(None, None)), "USB 0403:6001");
    }
}

//! The power chip of the Raspberry Pi 5, through the firmware's mailbox.
//!
//! The firmware answers the command `pmic_read_adc` with the current and voltage of twelve rails; it is asked as
//! `vcgencmd` asks it, through `/dev/vcio`. The sum is what these rails carry. It has no current of the 5 V input:
//! what hangs on USB, the fan and the HAT connector is not in it, nor what the converters lose; docs/energy.md has a
//! published fit to the wall.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use super::{Fault, Kind, Role, Source, Spec};
use crate::energy::Scope;
use crate::units::Microwatts;

const DEVICE: &str = "/dev/vcio";
const COMMAND: &[u8] = b"pmic_read_adc";
/// What the firmware takes for the chip's refresh is not published; its own tools are used about this often.
const REFRESH: Duration = Duration::from_millis(100);
/// Five times what the official supply delivers.
const LIMIT: Microwatts = Microwatts(135_000_000);

/// `_IOWR(100, 0, char *)`: the size in it is that of a pointer.
const IOCTL_MBOX_PROPERTY: u64 = (3 << 30) | ((size_of::<*mut u8>() as u64) << 16) | (100 << 8);
/// The property that runs a text command.
const GET_GENCMD_RESULT: u32 = 0x0003_0080;
/// Bytes of a command and of its answer.
const TEXT: usize = 1024;
/// Length, request, tag, size of the text, its length, error; the text; the end's mark.
const WORDS: usize = 6 + TEXT / 4 + 1;

struct Pmic {
    spec: Spec,
    device: Option<File>,
}

/// The chip, where the board is one that has it.
pub(super) fn discover() -> Vec<Box<dyn Source>> {
    let model = std::fs::read("/proc/device-tree/compatible").unwrap_or_default();
    // BCM2712 is the Pi 5, the Compute Module 5 and the Pi 500; all have the chip.
    let has_chip = model.split(|b| *b == 0).any(|name| name == b"brcm,bcm2712");
    if !has_chip || !Path::new(DEVICE).exists() {
        return Vec::new();
    }
    let spec = Spec {
        name: "pmic:rails".into(),
        what: "rails of the board, without what hangs on its 5 V",
        scope: Scope::Board,
        role: Role::Supply,
        kind: Kind::Power,
        contains: Vec::new(),
        refresh: REFRESH,
        limit: LIMIT,
        averages: false,
        restless: false,
        path: DEVICE.into(),
    };
    vec![Box::new(Pmic { spec, device: None })]
}

impl Source for Pmic {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn read(&mut self) -> Result<u64, Fault> {
        let fault = |e: io::Error| match e.kind() {
            ErrorKind::PermissionDenied => Fault::Denied,
            _ => Fault::Gone(e.to_string()),
        };
        let device = match self.device.take() {
            Some(open) => open,
            None => OpenOptions::new().read(true).open(DEVICE).map_err(fault)?,
        };
        let answer = ask(&device).map_err(fault)?;
        self.device = Some(device);
        sum(&answer)
    }
}

/// Runs the command.
fn ask(device: &File) -> io::Result<String> {
    let mut message = [0u32; WORDS];
    message[0] = size_of_val(&message) as u32;
    message[2] = GET_GENCMD_RESULT;
    message[3] = TEXT as u32;
    for (word, bytes) in message[6..].iter_mut().zip(COMMAND.chunks(4)) {
        let mut four = [0; 4];
        four[..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_ne_bytes(four);
    }
    // SAFETY: the driver copies in and out as many bytes as the message's first word says, which is its size.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), IOCTL_MBOX_PROPERTY as _, message.as_mut_ptr()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    if message[5] != 0 {
        return Err(io::Error::other(format!("the firmware refused it ({})", message[5])));
    }
    let text: Vec<u8> = message[6..WORDS - 1].iter().flat_map(|w| w.to_ne_bytes()).take_while(|b| *b != 0).collect();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The sum over the rails of current times voltage, in microwatts.
fn sum(answer: &str) -> Result<u64, Fault> {
    let values: Vec<(&str, f64)> = answer.lines().filter_map(value).collect();
    let volts = |rail: &str| values.iter().find(|(n, _)| n.strip_suffix("_V") == Some(rail)).map(|(_, v)| *v);
    let rails: Vec<(&str, f64)> = values.iter().filter_map(|(n, v)| Some((n.strip_suffix("_A")?, *v))).collect();
    if !rails.iter().any(|(rail, _)| *rail == "VDD_CORE") {
        return Err(Fault::Garbage("no rail VDD_CORE".into()));
    }
    let mut watts = 0.0;
    for (rail, amperes) in rails {
        // The voltages come last: one that is missing was cut off.
        let volts = volts(rail).ok_or_else(|| Fault::Garbage(format!("no voltage of {}", rail.escape_default())))?;
        watts += amperes * volts;
    }
    Ok(Microwatts::from_f64(watts).0)
}

/// `VDD_CORE_A current(7)=1.61044800A` as its name and value.
fn value(line: &str) -> Option<(&str, f64)> {
    let (name, rest) = line.trim().split_once(' ')?;
    let number = rest.split_once('=')?.1.trim_end_matches(['A', 'V']);
    Some((name, number.parse().ok().filter(|v: &f64| v.is_finite())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Pi 5 answers.
    const ANSWER: &str = "\
 3V7_WL_SW_A current(0)=0.09564180A
   3V3_SYS_A current(1)=0.06734616A
   1V8_SYS_A current(2)=0.15809180A
  DDR_VDD2_A current(3)=0.01366308A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.19518600A
    0V8_SW_A current(6)=0.36694480A
  VDD_CORE_A current(7)=1.61044800A
   3V3_DAC_A current(17)=0.00024420A
   3V3_ADC_A current(18)=0.00042735A
   0V8_AON_A current(16)=0.00323565A
      HDMI_A current(22)=0.01526250A
 3V7_WL_SW_V volt(8)=3.70462400V
   3V3_SYS_V volt(9)=3.31623100V
   1V8_SYS_V volt(10)=1.80146100V
  DDR_VDD2_V volt(11)=1.10769200V
  DDR_VDDQ_V volt(12)=0.60805500V
   1V1_SYS_V volt(13)=1.10732600V
    0V8_SW_V volt(14)=0.80219690V
  VDD_CORE_V volt(15)=0.72040680V
   3V3_DAC_V volt(20)=3.31074900V
   3V3_ADC_V volt(21)=3.30892200V
   0V8_AON_V volt(19)=0.80036610V
      HDMI_V volt(23)=5.14536000V
     EXT5V_V volt(24)=5.14802000V
      BATT_V volt(25)=0.00000000V
";

    #[test]
    fn the_rails_are_summed_and_the_input_without_a_current_is_not() {
        // 0.35432 + 0.22334 + 0.28480 + 0.01513 + 0 + 0.21613 + 0.29436 + 1.16018 + 0.00081 + 0.00141 + 0.00259 + 0.07853
        assert_eq!(sum(ANSWER).unwrap() / 1000, 2631);
    }

    #[test]
    fn an_answer_that_was_cut_off_is_garbage() {
        for end in [0, 20, 300, 500, 800] {
            assert!(matches!(sum(&ANSWER[..end]), Err(Fault::Garbage(_))), "{end}");
        }
        for bad in ["error=1 error_msg=\"Command not registered\"", "VDD_CORE_A current(7)=NaNA\nVDD_CORE_V volt(1)=1V"]
        {
            assert!(matches!(sum(bad), Err(Fault::Garbage(_))), "{bad}");
        }
    }

    #[test]
    fn the_request_is_the_one_that_vcgencmd_makes() {
        if size_of::<usize>() == 8 {
            assert_eq!(IOCTL_MBOX_PROPERTY, 0xC008_6400);
        }
        assert_eq!(WORDS * 4, 1052);
    }
}

//! Where models compute: devices by the names that users give them.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

/// A device by name: `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The first CUDA device, else Metal, else the processor; of what is built in.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No device is called so.
    #[error("there is no device `{0}`; the devices are auto, cpu, cuda, cuda:N and metal")]
    Unknown(String),
    /// This program has no code for the device.
    #[error("this build has no code for `{place}`; build it with `--features {feature}`, or take `cpu`")]
    NotBuilt {
        /// The device.
        place: Place,
        /// The cargo feature that brings the code.
        feature: &'static str,
    },
    /// The device does not answer: there is none, or no driver.
    #[error("`{place}` cannot be used: {what}; see that the device and its driver are there, or take `cpu`")]
    Absent {
        /// The device.
        place: Place,
        /// What its driver says.
        what: String,
    },
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Place, PlaceError> {
        let unknown = || PlaceError::Unknown(text.to_owned());
        match text {
            "auto" => Ok(Place::Auto),
            "cpu" => Ok(Place::Cpu),
            "cuda" => Ok(Place::Cuda(0)),
            "metal" => Ok(Place::Metal),
            _ => {
                let number = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                number.parse().map(Place::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Auto => f.write_str("auto"),
            Place::Cpu => f.write_str("cpu"),
            Place::Cuda(number) => write!(f, "cuda:{number}"),
            Place::Metal => f.write_str("metal"),
        }
    }
}

impl Place {
    /// The device, ready to compute.
    ///
    /// # Errors
    /// Where this build has no code for it, or it is not there. [`Place::Auto`] is always something.
    pub fn open(self) -> Result<Device, PlaceError> {
        let absent =
            |error: &candle_core::Error| PlaceError::Absent { place: self, what: super::message(error) };
        match self {
            Place::Cpu => Ok(Device::Cpu),
            Place::Auto => {
                let others = [Place::Cuda(0), Place::Metal];
                Ok(others.into_iter().find_map(|place| place.open().ok()).unwrap_or(Device::Cpu))
            }
            // What is built in is asked for first: candle says little of what is not.
            Place::Cuda(_) if !candle_core::utils::cuda_is_available() => {
                Err(PlaceError::NotBuilt { place: self, feature: "cuda" })
            }
            Place::Metal if !candle_core::utils::metal_is_available() => {
                Err(PlaceError::NotBuilt { place: self, feature: "metal" })
            }
            Place::Cuda(number) => Device::new_cuda(number).map_err(|error| absent(&error)),
            Place::Metal => Device::new_metal(0).map_err(|error| absent(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, PlaceError};

    #[test]
    fn devices_are_called_by_name() -> Result<(), PlaceError> {
        let names = ["auto", "cpu", "cuda", "cuda:0", "cuda:13", "metal"];
        let places = [Place::Auto, Place::Cpu, Place::Cuda(0), Place::Cuda(0), Place::Cuda(13), Place::Metal];
        for (name, place) in names.into_iter().zip(places) {
            let read: Place = name.parse()?;
            assert_eq!(read, place);
            assert_eq!(read.to_string().parse::<Place>()?, place);
        }
        for wrong in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cuda:99999999999999999999"] {
            assert!(
                wrong.parse::<Place>().is_err_and(|e| e.to_string().contains("the devices are")),
                "{wrong}"
            );
        }
        Ok(())
    }

    #[test]
    fn there_is_always_a_device() {
        assert!(Place::Cpu.open().is_ok() && Place::Auto.open().is_ok());
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn a_device_that_is_not_built_in_is_told_of() {
        let told = |place: Place| place.open().expect_err("it is not built in").to_string();
        assert!(told(Place::Cuda(1)).contains("no code for `cuda:1`; build it with `--features cuda`"));
        assert!(told(Place::Metal).contains("--features metal"));
        assert!(Place::Auto.open().is_ok_and(|device| device.is_cpu()));
    }
}

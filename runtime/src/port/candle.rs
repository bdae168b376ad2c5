//! Tensors of candle as the parameters of a model.

use std::error::Error;

use candle_core::{DType as CandleDType, Device, Tensor};

use super::model::{FromParameter, StoredParameter, ToParameter};
use crate::{Array, DType};

/// Element types that both know. Others are refused: candle would have to change them.
const DTYPES: [(DType, CandleDType); 8] = [
    (DType::F64, CandleDType::F64),
    (DType::F32, CandleDType::F32),
    (DType::F16, CandleDType::F16),
    (DType::BF16, CandleDType::BF16),
    (DType::I64, CandleDType::I64),
    (DType::I32, CandleDType::I32),
    (DType::I16, CandleDType::I16),
    (DType::U8, CandleDType::U8),
];

impl FromParameter for Tensor {
    fn from_parameter(parameter: StoredParameter<'_>) -> Result<Tensor, Box<dyn Error + Send + Sync>> {
        let array = parameter.array();
        let dtype = DTYPES.iter().find(|(ours, _)| *ours == array.dtype()).map(|(_, theirs)| *theirs);
        let dtype = dtype.ok_or_else(|| format!("candle has no tensors of {}", array.dtype().name()))?;
        let shape = array.shape().iter().map(|n| usize::try_from(*n)).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::from_raw_buffer(&array.bytes()?, dtype, &shape, parameter.device())?)
    }
}

impl ToParameter for Tensor {
    fn to_parameter(&self) -> Result<Array, Box<dyn Error + Send + Sync>> {
        let dtype = DTYPES.iter().find(|(_, theirs)| *theirs == self.dtype()).map(|(ours, _)| *ours);
        let dtype = dtype.ok_or_else(|| format!("a tensor of {} is no parameter", self.dtype().as_str()))?;
        let shape: Vec<u64> = self.dims().iter().map(|n| *n as u64).collect();
        let flat = self.to_device(&Device::Cpu)?.flatten_all()?;
        macro_rules! bytes {
            ($ty:ty) => {
                flat.to_vec1::<$ty>()?.into_iter().flat_map(<$ty>::to_le_bytes).collect()
            };
        }
        let bytes: Vec<u8> = match dtype {
            DType::F64 => bytes!(f64),
            DType::F32 => bytes!(f32),
            DType::F16 => bytes!(half::f16),
            DType::BF16 => bytes!(half::bf16),
            DType::I64 => bytes!(i64),
            DType::I32 => bytes!(i32),
            DType::I16 => bytes!(i16),
            // The only one left of the table.
            _ => flat.to_vec1::<u8>()?,
        };
        Ok(Array::new(dtype, &shape, bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType as CandleDType, Device, Tensor};

    use super::DTYPES;
    use crate::port::{Incoming, Outgoing, SaveModel};
    use crate::{Array, DType};

    #[test]
    fn elements_of_every_type_come_and_go() {
        for (ours, theirs) in DTYPES {
            let bytes: Vec<u8> = (0..6 * ours.size()).map(|n| u8::try_from(n).expect("few") & 0x3f).collect();
            let array = Array::new(ours, &[2, 3], bytes.clone()).expect("the bytes fit");
            let mut at = Incoming::of([("x".to_owned(), array)], Device::Cpu);
            let tensor: Tensor = at.part("x").unwrap_or_else(|e| panic!("{ours}: {e}"));
            assert_eq!((tensor.dims(), tensor.dtype()), (&[2, 3][..], theirs));
            let mut out = Outgoing::default();
            tensor.collect(&mut out).expect("it is given back");
            let (_, back) = &out.arrays()[0];
            assert_eq!((back.dtype(), back.shape()), (ours, &[2, 3][..]));
            assert_eq!(back.bytes().expect("small").as_ref(), bytes);
        }
    }

    #[test]
    fn elements_are_in_row_major_order() {
        let bytes = [1f32, 2., 3., 4., 5., 6.].iter().flat_map(|x| x.to_le_bytes()).collect();
        let array = Array::new(DType::F32, &[2, 3], bytes).expect("the bytes fit");
        let mut at = Incoming::of([("x".to_owned(), array)], Device::Cpu);
        let tensor: Tensor = at.part("x").expect("a tensor");
        assert_eq!(tensor.to_vec2::<f32>().expect("two dimensions"), [[1., 2., 3.], [4., 5., 6.]]);
        let transposed = tensor.t().expect("two dimensions");
        let mut out = Outgoing::default();
        transposed.collect(&mut out).expect("it is given back");
        let back = out.arrays()[0].1.bytes().expect("small").into_owned();
        assert_eq!(back[4..8], 4f32.to_le_bytes());
    }

    #[test]
    fn types_that_only_one_of_them_has_are_refused() {
        let array = Array::new(DType::Bool, &[1], vec![1]).expect("the bytes fit");
        let mut at = Incoming::of([("mask".to_owned(), array)], Device::Cpu);
        let error = at.part::<Tensor>("mask").expect_err("candle has no bool").to_string();
        assert_eq!(error, "the parameter `mask`: candle has no tensors of bool");
        let tensor = Tensor::zeros(1, CandleDType::U32, &Device::Cpu).expect("one element");
        let error = tensor.collect(&mut Outgoing::default()).expect_err("no format has it").to_string();
        assert!(error.contains("a tensor of u32 is no parameter"), "{error}");
    }
}

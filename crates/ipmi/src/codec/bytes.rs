//! Reading fixed layouts out of a byte slice without ever slicing past its end.

/// Bytes that are not what the standard says should be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The data ends before the field does.
    #[error("{what} is cut short: its {need} bytes do not fit into the {got} that are left")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Size of the field that did not fit.
        need: usize,
        /// Bytes left for it.
        got: usize,
    },
    /// A field has a value that is not understood.
    #[error("{what} cannot be {value:#04x}")]
    Value {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u32,
    },
    /// A two's complement checksum does not add up to zero (IPMI 2.0 §13.8).
    #[error("checksum of {what} is wrong")]
    Checksum {
        /// The part it covers.
        what: &'static str,
    },
}

/// A cursor over received bytes.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `data`, which errors will call `what`.
    pub(crate) fn new(what: &'static str, data: &'a [u8]) -> Self {
        Self { what, rest: data }
    }

    pub(crate) fn take(&mut self, need: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(need).ok_or(DecodeError::Short {
            what: self.what,
            need,
            got: self.rest.len(),
        })?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u24(&mut self) -> Result<u32, DecodeError> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Everything that was not read yet.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Fails with [`DecodeError::Value`] unless `value` is `want`.
pub(crate) fn expect_value(what: &'static str, value: u8, want: u8) -> Result<(), DecodeError> {
    if value == want {
        Ok(())
    } else {
        Err(DecodeError::Value {
            what,
            value: value.into(),
        })
    }
}

use proptest::prelude::*;

use super::*;
use crate::fault::Spec;

proptest! {
    #[test]
    fn any_body_is_read_or_refused(body: Vec<u8>) {
        json_body::<By>(&body).ok();
        json_body::<Button>(&body).ok();
        json_body::<Advance>(&body).ok();
        json_body::<Spec>(&body).ok();
    }
}

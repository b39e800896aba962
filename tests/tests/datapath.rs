//! The XDP programs, run by the kernel they are made for.

mod datapath {
    mod aead;
    mod decap;
    mod encap;
    mod prog_test_run;
}

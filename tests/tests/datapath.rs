//! The XDP programs, run by the kernel they are made for.

mod datapath {
    mod aead;
    mod budget;
    mod capture;
    mod concurrency;
    mod decap;
    mod df;
    mod encap;
    mod events;
    mod exchange;
    mod handoff;
    mod icmp_relay;
    mod ipv6;
    mod ipv6_workers;
    mod mss;
    mod port_entropy;
    mod prog_test_run;
    mod queues;
    mod reassembled;
    mod replay;
    mod returned;
    mod stats;
    mod trace;
    mod traffic_class;
    mod ways;
}

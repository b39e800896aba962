//! The XDP programs against a model of them, on frames that nobody should send.

mod hostile {
    mod association;
    mod generator;
    mod model;
    mod network;
    mod test;
    mod trial;
    mod wire;
    mod world;
}

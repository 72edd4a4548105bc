//! Sockets: connects, accepts, lifetimes, bytes each way, round-trip time, retransmits and resets,
//! per service. TCP over IPv4 and IPv6, and AF_UNIX where the kernel lets it be seen.
//!
//! Hooks: the return of socket syscalls (from `syscalls`), `tp_btf/inet_sock_set_state` (Linux
//! 4.16), `tp_btf/tcp_retransmit_skb` (4.15), `tp_btf/tcp_receive_reset`, `tp_btf/tcp_send_reset`,
//! `tp_btf/tcp_destroy_sock` (4.16), and those of `io_uring`.
//!
//! A socket is its `struct sock`, found from the descriptor through the task's file table, so
//! connections that were open before the probe started, inherited over fork or passed between
//! processes are seen like any other.

mod calls;
mod io_uring;
mod table;
mod tcp;

pub(crate) use calls::{Peer, adopt_file, concern, on_call, peer_of};
pub(crate) use table::AF_INET6;

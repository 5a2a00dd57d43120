package main

// #include <malloc.h>
//
// // Other C libraries than glibc are left as they are.
// static void give_back(int block) {
// #ifdef __GLIBC__
// 	mallopt(M_ARENA_MAX, 2);
// 	mallopt(M_MMAP_THRESHOLD, block);
// 	mallopt(M_TRIM_THRESHOLD, 8 * block);
// #endif
// }
import "C"

// giveBack makes the C library give freed memory back to the system. By itself glibc keeps hundreds of MiB: it opens an
// arena for each of the many threads that Go calls from, and once it has freed a large block, it keeps blocks of that size.
// Blocks larger than a small part of the limit now come from the system and go back to it. That takes time, so small ones
// are kept, up to eight such blocks an arena: a quarter more requests a second than if all of it went back at once.
func giveBack(limit int64) { C.give_back(C.int(min(limit/128, 32*mib))) }

package main

// #include <malloc.h>
//
// // Without this glibc keeps much of what was freed: it opens an arena for each of the many threads that Go calls from, and
// // after it has freed a large block, it no longer asks the system for each. Other C libraries are left as they are.
// static void give_back_memory(void) {
// #ifdef __GLIBC__
// 	mallopt(M_ARENA_MAX, 2);
// 	mallopt(M_MMAP_THRESHOLD, 4 << 20);
// #endif
// }
import "C"

func init() { C.give_back_memory() }

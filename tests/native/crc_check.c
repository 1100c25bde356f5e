/* The checksum of each header on standard input, 64 bytes each, as a line of decimal digits. */
#include <stdio.h>

#include "ring.h"

int main(void) {
    uint8_t header[HEADER_BYTES];
    crc_prepare();
    while (fread(header, sizeof header, 1, stdin) == 1) printf("%u\n", header_crc(header));
    return 0;
}

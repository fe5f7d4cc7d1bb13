/* Preloaded into a server that listens on every address and has no option for it: it listens on
   loopback instead. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    static int (*next)(int, const struct sockaddr *, socklen_t);
    struct sockaddr_storage copy;

    if (!next)
        next = dlsym(RTLD_NEXT, "bind");
    if (length > sizeof copy)
        return next(fd, address, length);
    memcpy(&copy, address, length);
    if (copy.ss_family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&copy;
        if (v4->sin_addr.s_addr == htonl(INADDR_ANY))
            v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else if (copy.ss_family == AF_INET6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&copy;
        if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr))
            inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6->sin6_addr);
    }
    return next(fd, (struct sockaddr *)&copy, length);
}

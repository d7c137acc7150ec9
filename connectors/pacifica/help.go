package pacifica

const help = `Reads transactions of a Pacifica installation as records, and their files as parts
of records. The files are ordered at its cart server; every byte is verified
against the hash that the metadata promises before anybody sees it. Nothing is
installed there, and nothing is changed but carts, which are deleted again.

` + "`gapless download`" + ` brings files into a folder instead, and ` + "`gapless serve`" + ` is a cart
server itself; how both speak is in [the page about the client](../wire/pacifica.md)
and [the one about the service](../wire/pacifica-server.md).

### As a source

What there is to read comes from the policy server, by numbers of transactions, or
from a folder of events about ingests, such as a subscription leaves behind.

| collection | key | data | version | part |
|---|---|---|---|---|
| ` + "`transaction`" + ` | number of the transaction | what the policy server says of it, or the event | - | - |
| ` + "`file`" + ` | id of the file | what the transaction or event says of the file | algorithm and hash, as in ` + "`sha1:da39...`" + ` | ` + "`content`" + ` |

The version of the part is the hash as well, so certificates cover the contents.
The source can only be enumerated: each run reads the metadata, compares, and
fetches just the contents of files that are new or changed. A number without a
transaction is passed over, and so is an event that tells of no files. That a
transaction has no files, the policy server has to say twice.

* **Contents** come by carts, into a folder within the project's state, and are
  handed on when they are verified. The first cart is for one file. As long as
  files are asked for in a row, each cart is for twice as many, up to 500 files or
  256 MiB.
* **A file without a hash** is rejected; ` + "`allow_unverified`" + ` takes it.
* **A file that does not have its hash**, or that cannot be staged, is rejected and
  becomes a dead letter with the cart server's message. A server that is away ends
  the run, which may be repeated.
* **A description that cannot be used**, for a path that leads out of its folder or
  for a hash that is none, becomes a dead letter without a key; in that run nothing
  is deleted by absence.
* **Credentials** go to both servers with every request, and to no other host that
  one of them redirects to. Without any, the login is taken from the file that
  ` + "`NETRC`" + ` names, or from ` + "`~/.netrc`" + `. Proxies are those of the environment.

### What answers mean

| answer | what follows |
|---|---|
| no connection, silence, a broken answer, 408, 429, 500, 502, 503, 504 | tried again with growing waits, or after ` + "`Retry-After`" + `; a cart that is being staged is waited for through a minute of that |
| 401, 407 | the run stops at once (exit 52) |
| 403 | the run stops at once (exit 53) |
| a cart that is gone, also in the middle of a download | it is ordered anew, three times |
| a cart that cannot be staged | its halves are ordered, so that the others come and the file that does not is named |
| a cart that is not ready within ` + "`wait`" + ` | exit 51; a notice every two minutes tells of it before |
| an archive that is cut, damaged, compressed, or lacks files | what came whole is kept, the rest is ordered anew |
`

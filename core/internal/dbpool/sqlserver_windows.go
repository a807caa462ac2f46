package dbpool

// These are the protocols of a server on the same machine, or in the same Windows domain, on which TCP is off, as it is
// in SQL Server Express: named pipes (np) and shared memory (lpc). The driver knows them when they are linked.
import (
	_ "github.com/microsoft/go-mssqldb/namedpipe"
	_ "github.com/microsoft/go-mssqldb/sharedmemory"
)

package dbpool

import (
	"context"
	"database/sql"
	"time"
)

// SetQuiet shortens the time after which an idle connection to a server is pinged before it is used.
func SetQuiet(p *Pool, quiet time.Duration) { p.links.opt.quiet = quiet }

// Misuse runs use under a lease, as the host's own code would that has a fault: kept, it does not give its connection
// back.
func Misuse(ctx context.Context, p *Pool, holder string, kept bool, use func(context.Context, *sql.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.opt.OperationTimeout)
	defer cancel()
	j := &job{line: p.guard.join(holder), lane: wide, statement: "LEAK", stop: cancel}
	j.run = func(l *lease) (any, error) {
		if !kept {
			return nil, p.lend(ctx, l, func(c *sql.Conn) error { return use(ctx, c) })
		}
		c, _, err := p.take(ctx, wide, l)
		if err != nil {
			return nil, err
		}
		return nil, use(ctx, c)
	}
	_, err := p.guard.do(ctx, j, p.opt.AcquireTimeout)
	return err
}

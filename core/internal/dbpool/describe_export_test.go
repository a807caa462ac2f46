package dbpool

import (
	"context"
	"errors"

	"github.com/hostd/hostd/core/sdk"
)

// Described says whether there are texts that describe a table of the driver.
func Described(driver string) bool {
	d := descriptions[driver]
	return d.keys != "" && d.filled != ""
}

// Refusals says whether a Store and a Reader of the driver refuse the query before they ask the database, which neither has.
func Refusals(driver, text string) (byStore, byReader bool) {
	d := dialectOf(driver)
	refuses := func(s sdk.Store) (is bool) {
		defer func() { _ = recover() }() // it went on to the database
		_, err := s.Query(context.Background(), sdk.Query{SQL: text})
		return errors.Is(err, ErrRefused)
	}
	return refuses(&store{pool: &Pool{dialect: d}}), refuses(&Reader{dialect: d})
}

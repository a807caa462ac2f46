package logs

import "strings"

// A Korean resident registration number is 6 digits, a dash or none, and 7 digits. It holds birth date and sex, so
// nothing of it stays.
const (
	birthDigits  = 6
	serialDigits = 7
	maskedNumber = "******-*******"
)

// Mask replaces every resident registration number that stands alone among other digits. Digits in the middle of a hash are
// none: without its id a record cannot be looked up. Every line of the log goes through it, and what else tells an error's text
// must do the same: a driver's or a plugin's may quote a row.
func Mask(s string) string {
	var out strings.Builder
	done := 0 // bytes of s that are in out
	for i := 0; i < len(s); {
		n := digits(s[i:])
		if n == 0 {
			i++
			continue
		}
		end := i + n
		if n == birthDigits && end < len(s) && s[end] == '-' && digits(s[end+1:]) == serialDigits {
			end += 1 + serialDigits
		} else if n != birthDigits+serialDigits {
			i = end
			continue
		}
		if inHash(s, i) {
			i = end
			continue
		}
		out.WriteString(s[done:i] + maskedNumber)
		i, done = end, end
	}
	if done == 0 {
		return s
	}
	return out.String() + s[done:]
}

// hashDigits is the fewest lower-case hex digits in a row that are taken for a hash.
const hashDigits = 32

func inHash(s string, i int) bool {
	from, to := i, i
	for from > 0 && hexDigit(s[from-1]) {
		from--
	}
	for to < len(s) && hexDigit(s[to]) {
		to++
	}
	return to-from >= hashDigits
}

func hexDigit(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

// digits counts those at the beginning.
func digits(s string) (n int) {
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

package host

import (
	"slices"
	"strconv"
	"strings"
)

// ordinary are the groups that every user of a Windows computer, or of its domain, may be in, by their name in a security
// descriptor (Microsoft, "SID Strings").
var ordinary = map[string]string{
	"WD": "Everyone", "BU": "Users", "AU": "Authenticated Users", "IU": "Interactive", "NU": "Network", "BG": "Guests",
	"AN": "Anonymous", "DU": "Domain Users", "DG": "Domain Guests",
}

// Rights to put a file into a folder or to change a file, to delete what is in it, and to give oneself such rights (Microsoft, "ACE
// Strings" and "File Access Rights Constants").
const writing = 0x2 | 0x40 | 0x40000 | 0x80000 | 0x10000000 | 0x40000000

// writeWords are the rights that have them, as words of two letters.
var writeWords = []string{"GA", "GW", "FA", "FW", "WD", "WO", "DC", "DT"}

// writersIn names the groups of ordinary users who are allowed to write, by a security descriptor in its text form. What is denied
// beside that is not looked at.
func writersIn(descriptor string) (who []string) {
	_, list, there := strings.Cut(descriptor, "D:")
	if !there || strings.HasPrefix(list, "NO_ACCESS_CONTROL") {
		return []string{"Everyone"} // without a list all is allowed
	}
	for entry := range strings.SplitSeq(list, "(") {
		entry, _, _ = strings.Cut(entry, ")")
		fields := strings.Split(entry, ";")
		const kind, flags, rights, group = 0, 1, 2, 5
		if len(fields) <= group || fields[kind] != "A" || inheritOnly(fields[flags]) || !writes(fields[rights]) {
			continue
		}
		if name := ordinary[fields[group]]; name != "" && !slices.Contains(who, name) {
			who = append(who, name)
		}
	}
	return who
}

// inheritOnly says whether an entry is for what is made inside, and not for the folder itself.
func inheritOnly(flags string) bool { return slices.Contains(pairs(flags), "IO") }

func writes(rights string) bool {
	if n, err := strconv.ParseUint(rights, 0, 32); err == nil {
		return n&writing != 0
	}
	return slices.ContainsFunc(pairs(rights), func(word string) bool { return slices.Contains(writeWords, word) })
}

// pairs are the words of two letters that stand in one.
func pairs(text string) (list []string) {
	for i := 0; i+1 < len(text); i += 2 {
		list = append(list, text[i:i+2])
	}
	return list
}

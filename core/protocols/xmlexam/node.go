package xmlexam

import (
	"bytes"
	"iter"
	"strings"

	"github.com/hostd/hostd/core/protocols/textenc"
)

// Node is an element of a Doc. The zero Node stands for an element that is not there; all methods work on it.
type Node struct {
	doc *Doc
	at  int32
}

// Encoding says what the bytes of the file were.
func (d *Doc) Encoding() textenc.Text { return d.text }

// Roots are the top-level elements, one or more: some instruments leave fragments without a root.
func (d *Doc) Roots() iter.Seq[Node] { return Node{d, 0}.Children() }

// Root is the only top-level element, or the zero Node where there are several.
func (d *Doc) Root() Node {
	first := d.nodes[0].child
	if d.nodes[first].next != 0 {
		return Node{}
	}
	return Node{d, first}
}

// Is says whether the element's local name is one of names.
func (n Node) Is(names ...string) bool {
	for _, name := range names {
		if string(n.local()) == name {
			return true
		}
	}
	return false
}

// Name is the local name, without prefix.
func (n Node) Name() string { return n.copy(n.local()) }

func (n Node) local() []byte {
	if n.doc == nil {
		return nil
	}
	x := &n.doc.nodes[n.at]
	return n.doc.src[x.name : x.name+uint32(x.nameLen)]
}

// There says whether the element exists.
func (n Node) There() bool { return n.doc != nil }

// Children are the elements directly inside n, in their order.
func (n Node) Children() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		if n.doc == nil {
			return
		}
		for i := n.doc.nodes[n.at].child; i != 0; i = n.doc.nodes[i].next {
			if !yield(Node{n.doc, i}) {
				return
			}
		}
	}
}

// All are the children with one of names, in their order.
func (n Node) All(names ...string) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for c := range n.Children() {
			if c.Is(names...) && !yield(c) {
				return
			}
		}
	}
}

// Child is the first child with one of names, or the zero Node.
func (n Node) Child(names ...string) Node {
	for c := range n.All(names...) {
		return c
	}
	return Node{}
}

// IsLeaf says whether n is there and has no elements inside.
func (n Node) IsLeaf() bool { return n.doc != nil && n.doc.nodes[n.at].child == 0 }

// Raw is the content of an element without children as sent, entities resolved, blanks kept; empty for any other, and
// for one that is too long to be a value.
func (n Node) Raw() string {
	if !n.IsLeaf() {
		return ""
	}
	x := &n.doc.nodes[n.at]
	x.read = x.end-x.text <= maxValue
	return n.copy(n.doc.src[x.text:x.end])
}

// copy makes text of a part of the document, as far as the limits of a decoder allow; beyond them it is empty.
func (n Node) copy(b []byte) string {
	if len(b) == 0 || len(b) > maxValue || n.doc.left < 0 {
		return ""
	}
	if n.doc.left -= len(b); n.doc.left < 0 {
		return ""
	}
	return unescape(b)
}

// Text is Raw without the blanks around it.
func (n Node) Text() string { return strings.TrimSpace(n.Raw()) }

// hasValue says whether n is an element without children and with more than blanks in it.
func (n Node) hasValue() bool {
	if !n.IsLeaf() {
		return false
	}
	x := &n.doc.nodes[n.at]
	return len(bytes.Trim(n.doc.src[x.text:x.end], blanks)) > 0
}

func (n Node) wasRead() bool { return n.doc.nodes[n.at].read }

// Attr is the value of the first attribute with one of names, which are compared without prefix, or empty.
func (n Node) Attr(names ...string) string {
	if n.doc == nil || n.at == 0 {
		return ""
	}
	x := &n.doc.nodes[n.at]
	found := ""
	attributes(n.doc.src, int(x.name)+int(x.nameLen), func(name, value []byte) bool {
		name = name[bytes.IndexByte(name, ':')+1:]
		for _, want := range names {
			if string(name) == want {
				found = n.copy(value)
				return false
			}
		}
		return true
	})
	return found
}

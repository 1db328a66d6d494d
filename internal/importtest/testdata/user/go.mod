module user

go 1.26

require (
	github.com/kernelfold/kernelfold v0.0.0
	gorgonia.org/gorgonia v0.9.18
)

replace github.com/kernelfold/kernelfold => ../../../..

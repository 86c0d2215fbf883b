! gaugeflow for Fortran programs: the declarations of gaugeflow.h, which says what the functions do.
! Compile this file with the program; character arguments need c_null_char at their end.
module gaugeflow
  use, intrinsic :: iso_c_binding
  implicit none

  integer, parameter :: gf_handle = c_int64_t
  integer(c_int), parameter :: gf_ok = 0, gf_bad_argument = 1, gf_bad_handle = 2, gf_no_convergence = 3, &
      gf_bad_file = 4, gf_failure = 5, gf_not_started = 6
  integer, parameter :: gf_dimensions = 8

  type, bind(c) :: gf_field
    type(c_ptr) :: data = c_null_ptr
    type(c_ptr) :: layout = c_null_ptr       ! null: "gaugeflow"
    integer(c_int32_t) :: precision = 64
    integer(c_int32_t) :: colours = 3
    integer(c_int32_t) :: spin = 0
    integer(c_int32_t) :: configurations = 1
    integer(c_int32_t) :: dimensions = 4
    integer(c_int32_t) :: extents(gf_dimensions) = 0
    integer(gf_handle) :: domain = 0          ! of gf_domain, where the field is the part of this process
  end type gf_field

  interface
    integer(c_int) function gf_version(major, minor) bind(c)
      import :: c_int
      integer(c_int) :: major, minor
    end function gf_version

    integer(c_int) function gf_threads(count) bind(c)
      import :: c_int
      integer(c_int), value :: count
    end function gf_threads

    integer(c_int) function gf_open(run_file, run) bind(c)
      import :: c_int, c_char, gf_handle
      character(kind=c_char), intent(in) :: run_file(*)
      integer(gf_handle) :: run
    end function gf_open

    integer(c_int) function gf_close(handle) bind(c)
      import :: c_int, gf_handle
      integer(gf_handle), value :: handle
    end function gf_close

    integer(c_int) function gf_domain(communicator, dimensions, grid, domain) bind(c)
      import :: c_int, gf_handle
      integer(c_int), value :: communicator, dimensions
      integer(c_int), intent(in) :: grid(*)
      integer(gf_handle) :: domain
    end function gf_domain

    integer(c_int) function gf_source(run, action) bind(c)
      import :: c_int, gf_handle
      integer(gf_handle), value :: run
      integer(gf_handle) :: action
    end function gf_source

    integer(c_int) function gf_target(run, value_, action) bind(c)
      import :: c_int, c_double, gf_handle
      integer(gf_handle), value :: run
      real(c_double), value :: value_
      integer(gf_handle) :: action
    end function gf_target

    integer(c_int) function gf_wilson(beta, anisotropy, action) bind(c)
      import :: c_int, c_double, gf_handle
      real(c_double), value :: beta, anisotropy
      integer(gf_handle) :: action
    end function gf_wilson

    integer(c_int) function gf_flow(run, parameters, flow) bind(c)
      import :: c_int, c_char, gf_handle
      integer(gf_handle), value :: run
      character(kind=c_char), intent(in) :: parameters(*)
      integer(gf_handle) :: flow
    end function gf_flow

    integer(c_int) function gf_pull_back(action, flow, pulled_back) bind(c)
      import :: c_int, gf_handle
      integer(gf_handle), value :: action, flow
      integer(gf_handle) :: pulled_back
    end function gf_pull_back

    integer(c_int) function gf_value(action, links, values) bind(c)
      import :: c_int, c_double, gf_handle, gf_field
      integer(gf_handle), value :: action
      type(gf_field), intent(in) :: links
      real(c_double) :: values(*)
    end function gf_value

    integer(c_int) function gf_force(action, links, force) bind(c)
      import :: c_int, gf_handle, gf_field
      integer(gf_handle), value :: action
      type(gf_field), intent(in) :: links
      type(gf_field) :: force
    end function gf_force

    integer(c_int) function gf_forward(flow, x, y, log_det) bind(c)
      import :: c_int, c_double, gf_handle, gf_field
      integer(gf_handle), value :: flow
      type(gf_field), intent(in) :: x
      type(gf_field) :: y
      real(c_double) :: log_det(*)
    end function gf_forward

    integer(c_int) function gf_inverse(flow, y, x, minus_log_det) bind(c)
      import :: c_int, c_double, gf_handle, gf_field
      integer(gf_handle), value :: flow
      type(gf_field), intent(in) :: y
      type(gf_field) :: x
      real(c_double) :: minus_log_det(*)
    end function gf_inverse

    integer(c_int) function gf_log_weight(source, target, flow, links, log_weight) bind(c)
      import :: c_int, c_double, gf_handle, gf_field
      integer(gf_handle), value :: source, target, flow
      type(gf_field), intent(in) :: links
      real(c_double) :: log_weight(*)
    end function gf_log_weight

    integer(c_int) function gf_gradient_flow(links, count, times, step, t2_energy, charge) bind(c)
      import :: c_int, c_double, gf_field
      type(gf_field), intent(in) :: links
      integer(c_int), value :: count
      real(c_double), intent(in) :: times(*)
      real(c_double), value :: step
      real(c_double) :: t2_energy(*), charge(*)
    end function gf_gradient_flow

    integer(c_int) function gf_flowed(links, time, step, flowed) bind(c)
      import :: c_int, c_double, gf_field
      type(gf_field), intent(in) :: links
      real(c_double), value :: time, step
      type(gf_field) :: flowed
    end function gf_flowed

    integer(c_int) function gf_dirac(kappa, csw, dimensions, angles, operator_) bind(c)
      import :: c_int, c_double, gf_handle
      real(c_double), value :: kappa, csw
      integer(c_int), value :: dimensions
      real(c_double), intent(in) :: angles(*)
      integer(gf_handle) :: operator_
    end function gf_dirac

    integer(c_int) function gf_quark(run, index, operator_) bind(c)
      import :: c_int, gf_handle
      integer(gf_handle), value :: run
      integer(c_int), value :: index
      integer(gf_handle) :: operator_
    end function gf_quark

    integer(c_int) function gf_solve(operator_, links, b, tolerance, x, residual, iterations) bind(c)
      import :: c_int, c_double, c_int64_t, gf_handle, gf_field
      integer(gf_handle), value :: operator_
      type(gf_field), intent(in) :: links, b
      real(c_double), value :: tolerance
      type(gf_field) :: x
      real(c_double) :: residual(*)
      integer(c_int64_t) :: iterations(*)
    end function gf_solve

    integer(c_int) function gf_read(file, links) bind(c)
      import :: c_int, c_char, gf_field
      character(kind=c_char), intent(in) :: file(*)
      type(gf_field) :: links
    end function gf_read

    type(c_ptr) function gf_message() bind(c)
      import :: c_ptr
    end function gf_message
  end interface
end module gaugeflow
